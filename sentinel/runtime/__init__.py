"""The processes: controller, ray link, agent, prober, watchdog."""
