"""What a recorded graph says of time: reading it needs the engine and nothing above it."""
