"""Devices: processes, mesh, memory and peaks."""
