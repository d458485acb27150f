"""The controller's pages and its control API."""
