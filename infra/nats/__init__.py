"""The configuration of the NATS server: who may publish and hear what."""
