"""The steps: thin classes that implement the abstract activities, one class per queue."""
