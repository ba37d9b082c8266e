"""The fleet's processes: intake, engine and settle carry a job to its outcome; project copies outcomes into Redis."""
