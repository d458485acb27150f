"""Where nodes live and jobs run: one folder per scheduler, behind the ports."""
