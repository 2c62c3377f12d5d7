package postfix

import "fmt"

// missing says what to do where tables do not answer as one of our maps would.
func (c *Config) missing(where string, named tables, name string, keys []string, right string) string {
	switch {
	case !writable(keys[0]):
		return "no map of Postfix can have a key that begins with #: send all mail of the domain through the hook"
	case c.Folder == "":
		return fmt.Sprintf("add %q to the first map in %s", keys[0]+" "+right, where)
	}
	for i, t := range named {
		switch {
		case !c.ownMap(t.name, name):
		case i > 0:
			return fmt.Sprintf("put %s before all other maps in %s", t.name, where)
		default:
			return fmt.Sprintf("run postmap %s; copialettere-postmap.path of systemd does so after each change: see whether it is active, "+
				"and whether the archive is on", c.path(name))
		}
	}
	return fmt.Sprintf("put ${default_database_type}:%s before all other maps in %s", c.path(name), where)
}

// readable says what to do where a map cannot be asked.
func (c *Config) readable(where, own string) string {
	remedy := "let the daemon's user read that map"
	if own != "" && c.Folder != "" {
		remedy += fmt.Sprintf(", or put the map %s before it in %s; where it is that map, run postmap %s", c.path(own), where, c.path(own))
	}
	return remedy
}
