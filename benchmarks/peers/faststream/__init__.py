"""FastStream: batches from Kafka, on asyncio."""
