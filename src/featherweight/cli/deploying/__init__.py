"""What the commands compile, run and bench do."""
