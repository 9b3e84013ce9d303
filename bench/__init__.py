"""`make bench`: the system's speed, memory and effort, beside those of a plain script on the same machine."""
