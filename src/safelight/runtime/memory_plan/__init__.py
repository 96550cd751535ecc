"""Memory plans: what a checkpoint's stages need, what a device has, and what to do where that is too little.

``counter`` measures networks without weights, and ``planner`` chooses.
"""
