"""What the machine offers: memory, CPU features, files replaced atomically, OpenVINO's core.

On the ground floor: anything may import it, and it imports nothing of ours.
"""
