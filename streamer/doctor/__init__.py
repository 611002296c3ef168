"""`streamer doctor`: is this machine, and is this configuration, fit to run? What is not comes with what to do."""
