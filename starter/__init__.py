"""For services and operators: the typed client, staging of big batches, and the command line."""
