"""Pictures in: cameras, streams, files, the demo, and stills."""
