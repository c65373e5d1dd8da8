"""One file a symptom: builds requests, calls engines, hands samples to measure."""
