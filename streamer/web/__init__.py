"""HTTP: the Face API, the dashboard and what the dashboard needs."""
