"""The HTTP server: features for whoever may have them."""
