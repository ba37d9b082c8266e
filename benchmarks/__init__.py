"""Owns measuring: what bounds a fleet on these cores, the fleet, and what users would run in its place, side by side.

``works`` says what is to be done, ``models`` makes what does it; ``site`` starts Kafka and Redis; ``limits`` are bare
TensorFlow and a bare echo; ``drain`` lets a subject (``subjects``) empty a backlog; ``rounds`` runs all of them in turn.
"""
