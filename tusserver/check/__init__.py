"""What `tusserver check` looks at: the machine behind the settings, the proxy in front (floor 5).

Nothing here changes what a running server has, and nothing that is made stays.
"""

from tusserver.check.findings import Finding, Level
from tusserver.check.local import check_settings
from tusserver.check.proxy import check_url

__all__ = ["Finding", "Level", "check_settings", "check_url"]
