"""Owns `penstock bench`: load on a running fleet, how long each job took from when it was due, and where that time went.

A load (``load``) says when jobs of some kinds (``work``) are due. ``drive`` submits them and hears of their results; ``tally``
counts; ``witness`` looks at the topics for what clients do not see; ``stages`` says where the time went and what bounds the
run; ``record`` is the file that is left, and ``plot`` draws it.
"""
