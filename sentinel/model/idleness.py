"""Words for what a job's time is lost to when nothing is wrong."""

START, WAITING, FORMING, STOPPED = "start", "waiting", "forming", "stopped"
WITHOUT_INCIDENT = (START, WAITING, FORMING, STOPPED)
