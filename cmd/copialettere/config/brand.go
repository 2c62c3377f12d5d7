package config

import (
	"net/url"
)

// Brand is how the provider presents itself on the pages. In a Domain an empty field stands for that of Web.
type Brand struct {
	// Title is the name of the service; "" for that of the program.
	Title string
	// SupportURL is where people get help; "" for no link.
	SupportURL string
	// MoreRoomURL is where an owner gets more room; "" for no link.
	MoreRoomURL string
	// Logo is the absolute path of a picture; "" for none.
	Logo string
}

const maxTitle = 60 // bytes

// brand reads the keys that [web] and [[domain]] share.
func (t *table) brand() Brand {
	b := Brand{Logo: t.path("logo", "/etc/copialettere/logo.png")}
	if s, ok := t.text("title", "Archivio Alpha"); ok {
		if b.Title = s; s == "" || len(s) > maxTitle || oneLine(s) != s {
			t.fail("title", faultf("write a short name on one line", "%s is not a name of 1 to %d bytes", quote(s), maxTitle))
		}
	}
	b.SupportURL = t.link("support_url", "https://help.alpha.test/")
	b.MoreRoomURL = t.link("more_room_url", "https://panel.alpha.test/room")
	return b
}

// link reads the URL of a page for people, or of an address to write to.
func (t *table) link(name, example string) string {
	s, ok := t.text(name, example)
	if !ok {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || !(u.Scheme == "https" && u.Host != "" && u.User == nil) && !(u.Scheme == "mailto" && u.Opaque != "") {
		t.fail(name, faultf(`write it as "`+example+`", or as "mailto:help@alpha.test"`, "%s is not the https URL of a page", quote(s)))
	}
	return s
}

// Brand returns how the provider presents itself in a domain; in "" and in those that are not configured, as [web] says.
func (c *Config) Brand(domain string) Brand {
	var b Brand
	if c.Web != nil {
		b = c.Web.Brand
	}
	for _, d := range c.Domains {
		name, f := canonicalDomain(d.Name)
		if f != nil || name != domain {
			continue
		}
		for _, one := range []struct {
			all *string
			own string
		}{{&b.Title, d.Brand.Title}, {&b.SupportURL, d.Brand.SupportURL}, {&b.MoreRoomURL, d.Brand.MoreRoomURL}, {&b.Logo, d.Brand.Logo}} {
			if one.own != "" {
				*one.all = one.own
			}
		}
	}
	return b
}
