"""What happens in which order: the Temporal workflows and, in `interface/`, the contract every room shares."""
