"""The log on disk: segments of JSON lines, each closed by a footer that vouches for it and for the one before."""
