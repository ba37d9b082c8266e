"""The contract and nothing else: bytes to jobs and outcomes and back, names, ids, error codes, settings.

Publishers (:mod:`penstock`) and workers (:mod:`penstock_worker`) both stand on this package; it knows neither.
"""

CONTRACT_VERSION = "1"
"""Version of the public contract; every outcome carries it."""
