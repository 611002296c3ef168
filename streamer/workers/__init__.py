"""Streams analysed by processes of their own, for machines with many cores."""
