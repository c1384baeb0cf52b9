"""The way in: what judges rows, what pushes them, and what is judged again."""
