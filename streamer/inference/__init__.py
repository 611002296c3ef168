"""OpenVINO: model cards, fetching and converting weights, and running them."""

import sys

# OpenVINO reports each import over the network if this package can be imported. This program sends nothing anywhere.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: as if it were not installed
