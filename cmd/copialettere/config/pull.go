package config

// Pull is the import of mail from other servers.
type Pull struct {
	// AllowPrivate lets owners name servers that have no address of the Internet, such as one in the provider's own network, and any port.
	AllowPrivate bool
}

// pull reads [pull].
func (t *table) pull() Pull { return Pull{AllowPrivate: t.flag("allow_private")} }
