"""OpenVINO: model cards, fetching and converting weights, and running them."""
