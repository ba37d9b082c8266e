"""Quix Streams: a dataframe over a topic, its rows gathered in a sink."""
