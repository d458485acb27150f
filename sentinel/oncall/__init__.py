"""Who is told of a page, and when: routes, who is on call, and who is asked next; all of it pure."""
