"""Owns what users would run in a fleet's place, each as its documentation tunes it: a folder a peer."""
