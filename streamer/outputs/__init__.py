"""Where records go: the log and the websocket."""
