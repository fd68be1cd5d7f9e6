// What came in and is in no outcome yet: how far the server is behind, labels without a prediction, refused events.

import { mountLag } from "./intake/lag.js";
import { mountOrphans } from "./intake/orphans.js";
import { mountQuarantine } from "./intake/quarantine.js";

const byId = (id) => document.getElementById(id);

mountLag(byId("lag"));
mountOrphans(byId("orphans-body"), byId("orphans-controls"));
mountQuarantine(byId("quarantine-body"), byId("quarantine-controls"));
