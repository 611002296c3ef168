"""How fast this machine could be with a clip, and how fast the program is."""
