"""Finished runs -> results/<profile>/: tables, and verdicts on claims."""
