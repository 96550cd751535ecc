"""Adapters: LoRAs and their kin, and textual inversions, from what their files say to what they change."""
