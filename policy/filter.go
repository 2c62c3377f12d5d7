package policy

import (
	"slices"
	"strings"
)

// The directions by which the classes of a filter are grouped.
const (
	DirectionReceived = "received" // certified, other, acceptance, delivery
	DirectionSent     = "sent"     // sent-certified, sent-other
)

// FilterDirection returns the direction of the messages of a class of filters.
func FilterDirection(class string) string {
	if strings.HasPrefix(class, "sent-") {
		return DirectionSent
	}
	return DirectionReceived
}

// filterPresets returns the filters that have a name of their own, which Set takes. Only "all" is also written as such; of the others Filter.String,
// the stored settings and the log have the classes.
func filterPresets() []filterPreset {
	return []filterPreset{
		{"all", FilterAll},
		{"all-certified", FilterCertified | FilterAcceptance | FilterDelivery | FilterSentCertified},
		{"receipts", FilterAcceptance | FilterDelivery},
	}
}

type filterPreset struct {
	name   string
	filter Filter
}

// Preset returns the name of the preset that the filter is; empty if it is none.
func (f Filter) Preset() string {
	for _, preset := range filterPresets() {
		if preset.filter == f {
			return preset.name
		}
	}
	return ""
}

// parseFilter reads the name of a preset, or the names of classes with commas.
func parseFilter(value string, into *Filter) error {
	var names []string
	for _, preset := range filterPresets() {
		if preset.name == value {
			*into = preset.filter
			return nil
		}
		names = append(names, preset.name)
	}
	return parseSet(value, into, filterNames, strings.Join(names, ", "))
}

// filterLabel returns a filter, as Filter.String writes it, in words: the label of its preset, or its classes by direction.
func filterLabel(value string) Label {
	var f Filter
	if parseFilter(value, &f) != nil {
		return Label{value, value}
	}
	if preset := f.Preset(); preset != "" {
		return Labels(VocabularyPresets).Label(preset)
	}
	var italian, english []string
	for _, direction := range Labels(VocabularyDirections) {
		var classes []string
		for class := range strings.SplitSeq(f.String(), ",") {
			if FilterDirection(class) == direction.Name {
				classes = append(classes, class)
			}
		}
		if classes != nil {
			l := Labels(VocabularyClasses).join(classes)
			italian, english = append(italian, direction.Label.Italian+": "+l.Italian), append(english, direction.Label.English+": "+l.English)
		}
	}
	return Label{strings.Join(italian, "; "), strings.Join(english, "; ")}
}

// Has reports whether a class is a member of the filter.
func (f Filter) Has(class string) bool {
	i := slices.Index(strings.Split(filterNames, ","), class)
	return i >= 0 && f&(1<<i) != 0
}
