package postfix

import (
	"fmt"
	"strings"
)

// missing returns the remedy when the tables of a parameter do not answer as our map would.
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
			return fmt.Sprintf("if the archive is on, run postmap %s as the daemon's user; copialettere-postmap.path of systemd has that done after "+
				"each change, so see whether it is active", c.path(name))
		}
	}
	return fmt.Sprintf("put ${default_database_type}:%s before all other maps in %s", c.path(name), where)
}

// readable returns the remedy when a map cannot be asked.
func (c *Config) readable(err error, where, own string) string {
	path := c.path(own)
	switch {
	case path == "":
		return "let the daemon's user read that map"
	case strings.Contains(err.Error(), path):
		return fmt.Sprintf("run postmap %s as the daemon's user; copialettere-postmap.service of systemd does so", path)
	}
	return fmt.Sprintf("let the daemon's user read that map, or put the map %s before it in %s", path, where)
}
