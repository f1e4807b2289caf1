"""What this installation and machine offer: version, memory, CPU features, files, OpenVINO.

On the ground floor: anything may import it, and it imports nothing of ours.
"""
