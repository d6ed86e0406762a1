"""Bytes and operating systems: MIDI ports, OSC sockets, pipes between our processes."""
