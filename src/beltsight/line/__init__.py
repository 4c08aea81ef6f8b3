"""The line: from camera frames to the right bin, in time.

Frames are taken (``camera``), items found and followed (``view``, ``background``, ``segment``,
``track``), cut out (``crop``) and answered, their views made one answer (``fuse``), decided, and
bound to belt positions (``belt``, ``schedule``) at which actuators fire. Every part takes clock,
camera, encoder and actuator from outside.
"""
