"""Flights out of New York in 2013: which will land late, as known when they should leave."""
