"""Cameras for tests: servers on loopback that play clips, and fail in the ways real cameras fail.

`rtsp.py` is our own RTSP server with faults on demand (`session.py` its conversation, `streaming.py` its
timing, `rtp.py` its packets); `gst.py` starts one that nobody here wrote; `http.py` serves MJPEG, mp4 and
HLS; `clips.py` finds or draws the pictures. Nothing here is part of the product.
"""
