"""Owns dead letters as operators meet them: reading, choosing, counting, mending, and sending their jobs again.

What a letter is, is :mod:`penstock_schemas.dead`'s. Decisions are pure (``letters``, ``filters``, ``histogram``, ``bodies``,
``paths``, ``mending``, ``plan``, ``marks``); ``reading``, ``sending``, ``outcomes`` and ``export`` do the I/O, and ``redrive``
puts them together.
"""
