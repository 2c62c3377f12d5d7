package pages

import (
	"errors"
	"slices"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
)

// tab is one of the main pages about a mailbox.
type tab struct {
	name  string // the first element of the path below the mailbox
	label policy.Label
	right archive.Right
	below []string // the names of the pages that are reached from it
}

func tabs() []tab {
	return []tab{
		{"", policy.Label{Italian: "Inizio", English: "Start"}, archive.RightRead, nil},
		{"messages", policy.Label{Italian: "Messaggi", English: "Messages"}, archive.RightRead, []string{"pulls", "deleted", "zip", "exports"}},
		{"practices", policy.Label{Italian: "Pratiche", English: "Practices"}, archive.RightRead, nil},
		{"gaps", policy.Label{Italian: "Lacune", English: "Gaps"}, archive.RightRead, nil},
		{"settings", policy.Label{Italian: "Impostazioni", English: "Settings"}, archive.RightLook,
			[]string{"archive", "notify", "log", "app-passwords", "delegates", "terms"}},
		{"access", policy.Label{Italian: "Accessi", English: "Sign-ins"}, archive.RightLook, nil},
		{"programs", policy.Label{Italian: "Programmi di posta", English: "Mail programs"}, archive.RightLook, nil},
	}
}

// tabs returns the main pages about the mailbox that the reader may open, or about the domain that he manages.
func (v *visit) tabs() (list []place, err error) {
	if v.PathValue("domain") != "" {
		return v.domainTabs(), nil
	}
	_, rest, _ := strings.Cut(v.Pattern, "/mailbox/{mailbox}/")
	name, _, _ := strings.Cut(strings.TrimSuffix(rest, "{$}"), "/")
	may := make(map[archive.Right]bool)
	for _, right := range []archive.Right{archive.RightRead, archive.RightLook} {
		err := v.pages.options.Archive.May(v.Context(), v.who, right, v.mailbox)
		if err != nil && !errors.Is(err, policy.ErrForbidden) {
			return nil, err
		}
		may[right] = err == nil
	}
	for _, one := range tabs() {
		if may[one.right] {
			here := rest != "" && (one.name == name || slices.Contains(one.below, name))
			list = append(list, place{Path: v.path(one.name), Name: one.label.In(v.language), Here: here})
		}
	}
	return list, nil
}

// domainTabs returns the main pages about the domain.
func (v *visit) domainTabs() (list []place) {
	_, rest, _ := strings.Cut(v.Pattern, "/domain/{domain}/")
	name, _, _ := strings.Cut(strings.TrimSuffix(rest, "{$}"), "/")
	add := func(path, italian, english string, here bool) {
		list = append(list, place{Path: path, Name: v.t(italian, english), Here: here && rest != ""})
	}
	add(domainPath(v.domain), "Caselle", "Mailboxes", name != "health" && name != "log" && name != "access")
	add(domainPath(v.domain, "health"), "Stato", "Health", name == "health")
	add(domainPath(v.domain, "log"), "Registro", "Log", name == "log")
	add(domainPath(v.domain, "access"), "Accessi", "Sign-ins", name == "access")
	return list
}
