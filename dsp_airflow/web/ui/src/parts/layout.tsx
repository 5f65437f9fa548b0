/** Headings, tabs, cards and links of all pages. */

import { Box, Link as ChakraLink, Flex, Heading, Text } from "@chakra-ui/react";
import type { ReactNode } from "react";
import { Link as RouterLink } from "react-router-dom";

/** A link to another page, without loading it anew. */
export function To({ to, children }: { to: string; children: ReactNode }) {
  return (
    <ChakraLink asChild color="fg.info" overflowWrap="anywhere">
      <RouterLink to={to}>{children}</RouterLink>
    </ChakraLink>
  );
}

interface TabsProps {
  label: string;
  tabs: readonly { to: string; text: string; current: boolean }[];
}

/** Links that look like tabs, as each has an address. */
export function Tabs({ label, tabs }: TabsProps) {
  return (
    <Flex as="nav" aria-label={label} gap={1} borderBottomWidth="1px" mb={3} wrap="wrap">
      {tabs.map((tab) => (
        <ChakraLink
          asChild
          key={tab.to}
          px={3}
          py={1.5}
          mb="-1px"
          fontSize="sm"
          borderBottomWidth="2px"
          borderColor={tab.current ? "brand.solid" : "transparent"}
          color={tab.current ? "fg" : "fg.muted"}
          fontWeight={tab.current ? "semibold" : "normal"}
          _hover={{ textDecoration: "none", color: "fg" }}
        >
          <RouterLink to={tab.to} aria-current={tab.current ? "page" : undefined}>
            {tab.text}
          </RouterLink>
        </ChakraLink>
      ))}
    </Flex>
  );
}

interface TitleProps {
  children: ReactNode;
  beside?: ReactNode;
  under?: ReactNode;
  actions?: ReactNode;
}

export function Title({ children, beside, under, actions }: TitleProps) {
  return (
    <Flex justify="space-between" align="start" gap={4} mb={4} wrap="wrap">
      <Box minW={0}>
        <Flex align="center" gap={3} wrap="wrap">
          <Heading as="h1" size="xl" overflowWrap="anywhere">
            {children}
          </Heading>
          {beside}
        </Flex>
        {under && (
          <Text as="div" color="fg.muted" fontSize="sm" mt={1} overflowWrap="anywhere">
            {under}
          </Text>
        )}
      </Box>
      {actions && (
        <Flex gap={2} wrap="wrap">
          {actions}
        </Flex>
      )}
    </Flex>
  );
}

export function Card({ title, children }: { title?: ReactNode; children: ReactNode }) {
  return (
    <Box as="section" borderWidth="1px" borderRadius="md" p={4} mb={4} bg="bg">
      {title && (
        <Heading as="h2" size="sm" mb={3}>
          {title}
        </Heading>
      )}
      {children}
    </Box>
  );
}

/** Facts side by side. */
export function Facts({ children }: { children: ReactNode }) {
  return (
    <Box
      as="dl"
      m={0}
      display="grid"
      gridTemplateColumns="repeat(auto-fill, minmax(9.5rem, 1fr))"
      gap={3}
    >
      {children}
    </Box>
  );
}

/** Text as it is, such as SQL. */
export function Verbatim({ children }: { children: string }) {
  return (
    <Box
      as="pre"
      fontSize="xs"
      fontFamily="mono"
      bg="bg.subtle"
      borderRadius="sm"
      p={3}
      m={0}
      mb={2}
      maxH="28rem"
      overflow="auto"
      whiteSpace="pre-wrap"
      overflowWrap="anywhere"
    >
      {children}
    </Box>
  );
}
