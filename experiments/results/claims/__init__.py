"""Claims, each with a test declared beforehand, judged by the tables."""
