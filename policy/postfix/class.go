package postfix

import (
	"context"
	"os"
	"slices"
	"strings"
)

// class is an address class of Postfix (ADDRESS_CLASS_README) with the parameter that names its transport.
type class struct {
	domains   tables
	list      []string // of domains, tables and files
	parent    bool     // an item DOMAIN also matches subdomains; otherwise only .DOMAIN does
	transport string   // the name of the parameter
}

// newClasses returns the classes in the order of Postfix's decision. keys are the domainKeys of all domains that will be looked up.
func newClasses(main map[string]string, keys []string) []class {
	parents := items(main["parent_domain_matches_subdomains"])
	var all []class
	for _, one := range []struct{ domains, transport string }{
		{"mydestination", "local_transport"}, {"virtual_alias_domains", ""}, {"virtual_mailbox_domains", "virtual_transport"},
		{"relay_domains", "relay_transport"},
	} {
		list := main[one.domains]
		all = append(all, class{tablesOf(list, keys), items(list), slices.Contains(parents, one.domains), one.transport})
	}
	return all
}

// parents returns the domains above a domain.
func parents(domain string) []string {
	var list []string
	for {
		_, parent, ok := strings.Cut(domain, ".")
		if !ok {
			return list
		}
		list, domain = append(list, parent), parent
	}
}

// domainKeys returns all keys by which a match list may be asked for a domain.
func domainKeys(domain string) []string {
	keys := []string{domain}
	for _, parent := range parents(domain) {
		keys = append(keys, parent, "."+parent)
	}
	return keys
}

// classOf returns the class of a domain; nil if Postfix takes no mail for it. An error means that the class cannot be determined.
func (r *receivedRoutes) classOf(ctx context.Context, domain string) (*class, error) {
	for i := range r.classes {
		in, err := r.classes[i].has(ctx, domain)
		if err != nil && r.classes[i].transport == "" {
			continue // an enabled mailbox in a domain that has only aliases is unlikely
		}
		if err != nil || in {
			return &r.classes[i], err
		}
	}
	return nil, nil
}

// has reports whether a domain is in a class. As in Postfix's match lists, the first item that matches decides.
func (c *class) has(ctx context.Context, domain string) (bool, error) {
	names := []string{domain}
	for _, parent := range parents(domain) {
		if !c.parent {
			parent = "." + parent
		}
		names = append(names, parent)
	}
	next := 0
	for _, item := range c.list {
		plain, not := strings.CutPrefix(item, "!")
		isTable := next < len(c.domains) && c.domains[next].name == plain
		if isTable {
			next++
		}
		for _, name := range names {
			match := strings.EqualFold(plain, name)
			var err error
			if isTable {
				_, match, err = c.domains[next-1].lookup(ctx, name)
			} else if strings.HasPrefix(plain, "/") {
				match, err = inFile(plain, name)
			}
			if err != nil {
				return false, err
			}
			if match {
				return !not, nil
			}
		}
	}
	return false, nil
}

// inFile reports whether a file that a match list names holds a domain.
func inFile(path, domain string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		for _, item := range items(line) {
			if strings.EqualFold(item, domain) {
				return true, nil
			}
		}
	}
	return false, nil
}
